package main

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metrics serves those of all replicas, each series with its replica as the label
// instance: scrape with honor_labels. A replica that does not answer is left out.
func (m *market) metrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	m.mu.Lock()
	open := slices.Clone(m.open)
	m.mu.Unlock()

	scraped := make([]map[string]*dto.MetricFamily, len(open))
	var wg sync.WaitGroup
	for i, address := range open {
		if address != "" {
			wg.Go(func() { scraped[i], _ = m.scrape(ctx, address, m.names[i]) }) // left out if there is an error
		}
	}
	wg.Wait()
	all := map[string]*dto.MetricFamily{}
	for _, families := range scraped {
		for name, family := range families {
			if all[name] == nil {
				all[name] = family
			} else {
				all[name].Metric = append(all[name].Metric, family.Metric...)
			}
		}
	}

	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	w.Header().Set("Content-Type", string(format))
	out := expfmt.NewEncoder(w, format)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := out.Encode(all[name]); err != nil {
			return // who asked has left
		}
	}
}

// scrape returns the metrics of one replica.
func (m *market) scrape(ctx context.Context, address, name string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, err
	}
	label := "instance"
	for _, family := range families {
		for _, metric := range family.Metric {
			metric.Label = append(metric.Label, &dto.LabelPair{Name: &label, Value: &name})
		}
	}
	return families, nil
}
