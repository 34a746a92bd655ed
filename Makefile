# Every target covers all modules of the workspace (go.work): the library and
# the nested modules that keep their dependencies out of it.

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# How often `make stress` runs the suite, and what else goes to `go test`:
#     make stress N=50 TESTFLAGS='-run TestLead'
N ?= 10
TESTFLAGS ?=

# Longer than any package needs, also on a busy machine.
TIMEOUT ?= 20m

# Every package; those that take longest start first, lest one of them runs alone at the end.
ALL := ./otelguard/monitoring ./guardvet/... ./guard ./guard/lease/quorum ./guard/lease/redisstore ./examples/inventory ./otelguard ./guard/sqlfence/databases \
	./guard/cronwrap ./guard/journal/databases/... ./guard/asynqmw ./bench ./cmd/jobguard ./guard/journal/... ./guard/guardtest \
	./internal/redistest ./guard/httpmw work

# go vet is make lint's. gin does without msgpack, whose codec alone takes 36 s of a processor to compile.
# -race by GOFLAGS, so that what tests have go build is of the same packages. No debugger looks at these, and without its
# tables there is a tenth less to compile and to link.
# Tests mostly wait: on a machine with two processors four packages are run at once. Elsewhere go decides.
# Tests collect their garbage less often, and compilers never, which saves these a fifth of a processor; their memory is limited,
# for the few packages that fill it. What others wrote is not inlined, and takes half as long to compile; but for go-redis, which would allocate more
# than it does for users, and tests count the bytes of a run. SQLite is C made Go, with memory that the race detector does
# not watch: without its calls the tests that use it take a third less.
# A program under the race detector sleeps for a second before it exits, to see what other threads do: ours have ended theirs.
OTHERS := github.com/... golang.org/x/... google.golang.org/... go.opentelemetry.io/... go.mongodb.org/...
RACE := -race -gcflags=all=-dwarf=false $(foreach path,$(OTHERS),'-gcflags=$(path)=-dwarf=false -l') \
	$(foreach path,github.com/jobguard/... github.com/redis/go-redis/...,-gcflags=$(path)=-dwarf=false) \
	'-gcflags=modernc.org/sqlite/lib=-dwarf=false -race=false' -ldflags=-w '-toolexec=env GOGC=off GOMEMLIMIT=1500MiB'
TEST := GORACE="atexit_sleep_ms=10 $$GORACE" GOGC=$(or $(GOGC),400) GOFLAGS="$$(go env GOFLAGS) $(RACE)" go test \
	$(if $(filter 1 2,$(shell nproc 2>/dev/null)),-p 4) -vet=off -tags nomsgpack -timeout $(TIMEOUT)

# Directories of the modules of the workspace.
MODULES = $(shell go list -m -f '{{.Dir}}')

# Where the code must compile too, tests included.
PLATFORMS := windows/amd64 darwin/arm64 linux/386

.PHONY: guardvet test race soak test-servers test-prometheus3 test-web pictures stress sim sim-quick bench bench-quick lint vet-platforms fmt tidy tidy-check needs

# The race detector works through cgo, whatever the environment says.
export CGO_ENABLED := 1

## test: pass every test, with the race detector
test: needs
	$(TEST) $(TESTFLAGS) $(ALL)

## race: the same, but take no result from go's test cache
race: needs
	$(TEST) -count=1 $(TESTFLAGS) $(ALL)

# What `make test-servers` runs, and against which servers:
#     make test-servers SERVERS=valkey PACKAGES=./guard/httpmw TESTFLAGS='-race'
SERVERS ?= valkey redis
PACKAGES ?= ./guard/lease/redisstore ./guard

## test-servers: the tests of redisstore and guard against Valkey 8.1 and Redis 8.0
test-servers:
	@./scripts/need gcc
	@./scripts/servers redis
	@failed=; for server in $(SERVERS); do \
		run=$(CURDIR)/.servers/redis/$$server-server; \
		echo "== $$($$run --version)"; \
		JOBGUARD_REDIS_SERVER=$$run go test -timeout $(TIMEOUT) -count=1 $(TESTFLAGS) $(PACKAGES) || failed="$$failed $$server"; \
	done; \
	test -z "$$failed" || { echo "failed against:$$failed" >&2; exit 1; }

## test-prometheus3: the rules, the dashboard and the end-to-end test under Prometheus 3, and the rules' tests as they are under both
test-prometheus3: needs
	@./scripts/servers prometheus
	@set -e; for promtool in promtool $(CURDIR)/.servers/prometheus/promtool; do \
		$$promtool --version | head -1; \
		(cd otelguard/monitoring && $$promtool check rules rules.yml && $$promtool test rules rules_test.yml); \
	done
	JOBGUARD_PROMETHEUS=$(CURDIR)/.servers/prometheus go test -timeout $(TIMEOUT) -count=1 $(TESTFLAGS) ./otelguard/monitoring

## test-web: the page of examples/inventory in a real browser, chromium, and under axe-core
test-web:
	@./scripts/need chromium npm
	@./scripts/axe
	go vet -tags web,pictures ./examples/inventory
	JOBGUARD_AXE=$(CURDIR)/.servers/axe/node_modules/axe-core/axe.min.js \
		go test -tags web -timeout $(TIMEOUT) -count=1 -v -run TestPage $(TESTFLAGS) ./examples/inventory

## pictures: docs/pictures, taken from the page
pictures:
	@./scripts/need chromium
	go test -tags web,pictures -timeout $(TIMEOUT) -count=1 -v -run TestMakePictures ./examples/inventory

## stress: the suite N times in a row, until something fails, and two minutes of contention
stress: needs
	@set -e; for i in $$(seq $(N)); do \
		echo "== run $$i of $(N)"; \
		$(TEST) -count=1 $(TESTFLAGS) $(ALL); \
	done
	JOBGUARD_STRESS=2m go test -race -timeout $(TIMEOUT) -count=1 -v -run TestRedisContention ./guard

SEEDS ?= 200000
FIRST ?= 1

## sim: the quorum over simulated nodes, SEEDS schedules from FIRST on
sim:
	go test -timeout 4h -count=1 -v -run 'TestSimulation' ./guard/lease/quorum -sim.seeds $(SEEDS) -sim.first $(FIRST)

# How long `make soak` torments each log of the journal, and for how many runs, at least, and with which seed.
SOAK ?= 1m
RUNS ?= 10000
SEED ?= 1

## soak: a journal whose processes are killed, stopped and cut from Redis, for SOAK and RUNS of each log: a quarter of an hour
soak: needs
	JOBGUARD_CHAOS=$(SOAK) JOBGUARD_RUNS=$(RUNS) JOBGUARD_SEED=$(SEED) go test -timeout 2h -count=1 -v ./guard/journal/databases/chaos

## sim-quick: 4 000 schedules and those that break a rule on purpose, without the race detector, with which `make test` runs 100
sim-quick:
	go test -timeout $(TIMEOUT) -count=1 -v -run '^TestSimulation' ./guard/lease/quorum

## bench: measure guard next to its rivals, a quarter of an hour, write bench/RESULTS.md, and fail if a bar is missed
bench: needs
	go run ./bench -o bench/RESULTS.md -gate

## bench-quick: the same in less than a minute, rough, printed only
bench-quick: needs
	go run ./bench -quick

## lint: go vet, guardvet, golangci-lint, formatting and tidiness of every module
lint: vet-platforms guardvet
	go vet work
	@failed=; for dir in $(MODULES); do \
		echo "golangci-lint $${dir#$(CURDIR)/}"; \
		(cd $$dir && go run $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...) || failed=1; \
	done; test -z "$$failed"
	@$(MAKE) --no-print-directory tidy-check

## guardvet: our own analyzer finds nothing in any module
guardvet:
	go build -o .servers/guardvet ./guardvet/cmd/guardvet
	go vet -vettool=$(CURDIR)/.servers/guardvet work

## vet-platforms: go vet, tests included, for other systems
vet-platforms:
	@failed=; for p in $(PLATFORMS); do \
		echo "go vet for $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 go vet work || failed=1; \
	done; test -z "$$failed"

## fmt: format every module
fmt:
	@set -e; for dir in $(MODULES); do \
		(cd $$dir && go run $(GOLANGCI) fmt --config $(CURDIR)/.golangci.yml ./...); \
	done

# Tidiness is a matter of each module by itself, so the workspace is off. -e:
# test dependencies of dependencies that no longer exist are not our business.

## tidy: bring go.mod and go.sum of every module up to date
tidy:
	@set -e; for dir in $(MODULES); do (cd $$dir && GOWORK=off go mod tidy -e); done

## tidy-check: fail if tidy would change something
tidy-check:
	@failed=; for dir in $(MODULES); do \
		echo "go mod tidy -diff $${dir#$(CURDIR)/}"; \
		(cd $$dir && GOWORK=off go mod tidy -e -diff) || failed=1; \
	done; test -z "$$failed"

needs:
	@./scripts/need redis-server gcc promtool prometheus postgres mariadbd
