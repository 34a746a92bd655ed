package databases

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/jobguard/jobguard/guard/sqlfence"
)

func TestManyMigrateAtOnce(t *testing.T) {
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			for range 3 {
				dsn := p.dsn(t)
				errs := make(chan error)
				for range 8 {
					go func() {
						db, err := sql.Open(p.driver, dsn)
						if err == nil {
							defer db.Close()
							err = newFence(t, p.dialect).Migrate(t.Context(), db)
						}
						errs <- err
					}()
				}
				for range 8 {
					if err := <-errs; err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestMigrateAgainLeavesTokensAlone(t *testing.T) {
	eachProduct(t, func(t *testing.T, _ product, db *sql.DB, f *sqlfence.Fence) {
		tx := begin(t, db, sql.LevelDefault)
		must(t, seal(t, f, tx, "r", 7))
		must(t, tx.Commit())
		must(t, f.Migrate(t.Context(), db))
		refused(t, f, db, "r", 6, 7)
		if n := number(t, db, "SELECT count(*) FROM jobguard_fences"); n != 1 {
			t.Errorf("%d rows, want the one that was sealed", n)
		}
	})
}

// A statement of Schema in another's migration is enough.
func TestSchemaIsWhatMigrateRuns(t *testing.T) {
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			db := open(t, p.driver, p.dsn(t))
			f := newFence(t, p.dialect)
			statements(t, db, f.Schema(), f.Schema())
			must(t, f.Migrate(t.Context(), db))
			must(t, seal(t, f, begin(t, db, sql.LevelDefault), "r", 1))
		})
	}
}

func TestMigrateRefusesATableOfAnotherShape(t *testing.T) {
	shapes := map[string][]string{
		"postgres": {
			"(resource text PRIMARY KEY, token bigint NOT NULL)",
			"(resource bytea NOT NULL, token bigint NOT NULL)",
			"(resource bytea PRIMARY KEY, token int NOT NULL)",
			"(resource bytea PRIMARY KEY, token text NOT NULL)",
			"(resource bytea PRIMARY KEY, fence bigint NOT NULL)",
			"(resource bytea PRIMARY KEY, token bigint NOT NULL, more int NOT NULL)",
			"(n int)",
		},
		"mariadb": {
			"(resource VARCHAR(255) PRIMARY KEY, token BIGINT NOT NULL) CHARACTER SET utf8mb4",
			"(resource VARCHAR(255) COLLATE latin1_swedish_ci PRIMARY KEY, token BIGINT NOT NULL) CHARACTER SET latin1",
			"(resource BINARY(255) PRIMARY KEY, token BIGINT NOT NULL)",
			"(resource VARBINARY(100) PRIMARY KEY, token BIGINT NOT NULL)",
			"(resource BLOB, token BIGINT NOT NULL, PRIMARY KEY (resource(100)))",
			"(resource VARBINARY(255) NOT NULL, token BIGINT NOT NULL)",
			"(resource VARBINARY(255) PRIMARY KEY, token INT NOT NULL)",
			"(resource VARBINARY(255) PRIMARY KEY, token DOUBLE NOT NULL)",
			"(resource VARBINARY(255) PRIMARY KEY, token BIGINT NOT NULL) ENGINE=MyISAM",
			"(n int)",
		},
		"sqlite": {
			"(resource BLOB PRIMARY KEY COLLATE NOCASE, token TEXT NOT NULL)",
			"(resource BLOB NOT NULL, token BIGINT NOT NULL)",
			"(resource BLOB PRIMARY KEY, fence BIGINT NOT NULL)",
			"(n int)",
		},
	}
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			if len(shapes[p.name]) == 0 {
				t.Fatal("no shapes")
			}
			db := open(t, p.driver, p.dsn(t))
			for _, shape := range shapes[p.name] {
				statements(t, db, "DROP TABLE IF EXISTS jobguard_fences", "CREATE TABLE jobguard_fences "+shape)
				err := newFence(t, p.dialect).Migrate(t.Context(), db)
				t.Logf("%s: %v", shape, err)
				if err == nil || !strings.Contains(err.Error(), "sqlfence: migrate") {
					t.Errorf("%s: %v, want an error", shape, err)
				}
			}
		})
	}
}

// The user of the service may only read and write the table: Migrate creates nothing then.
func TestMigrateOfATableThatIsThereNeedsNoRightToCreate(t *testing.T) {
	p := products[0]
	dsn := p.dsn(t)
	db := open(t, p.driver, dsn)
	f := newFence(t, p.dialect)
	must(t, f.Migrate(t.Context(), db))
	statements(t, db, "DROP ROLE IF EXISTS service", "CREATE ROLE service LOGIN", "GRANT SELECT, INSERT, UPDATE ON jobguard_fences TO service")
	service := open(t, p.driver, strings.Replace(dsn, "jobguard@", "service@", 1))
	must(t, f.Migrate(t.Context(), service))
	must(t, seal(t, f, begin(t, service, sql.LevelDefault), "r", 1))
	if err := newFence(t, p.dialect, sqlfence.Table("other")).Migrate(t.Context(), service); err == nil {
		t.Error("the role may create tables: the test is void")
	}
	statements(t, db, "DROP OWNED BY service")
}

// In a schema, with a reserved word, and with MySQL's ANSI_QUOTES.
func TestTableOfAnyNameInAnySchema(t *testing.T) {
	for _, p := range append([]product{{"mariadb-ansi", sqlfence.MySQL, "mysql", withParameters("sql_mode=ANSI")}}, products...) {
		t.Run(p.name, func(t *testing.T) {
			db := open(t, p.driver, p.dsn(t))
			schema := "main"
			if p.dialect != sqlfence.SQLite {
				schema = "ops"
				if p.dialect == sqlfence.MySQL {
					statements(t, db, "DROP DATABASE IF EXISTS ops") // of another test
				}
				statements(t, db, "CREATE SCHEMA ops")
			}
			for _, table := range []string{"order", "Fences", "_f1", schema + ".fences", schema + ".select"} {
				f := newFence(t, p.dialect, sqlfence.Table(table))
				must(t, f.Migrate(t.Context(), db))
				tx := begin(t, db, sql.LevelDefault)
				must(t, seal(t, f, tx, "r", 7))
				must(t, tx.Commit())
				refused(t, f, db, "r", 6, 7)
			}
		})
	}
}
