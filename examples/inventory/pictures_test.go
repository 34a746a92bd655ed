//go:build web && pictures

package main_test

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	pictures = "../../docs/pictures"
	most     = 1 << 20 // bytes of a picture
	pace     = 400 * time.Millisecond
)

// TestMakePictures plays the story on the real page and keeps it: a moving picture of
// all of it, and one of the whole page at its end. `make pictures` runs it.
func TestMakePictures(t *testing.T) {
	h, b := serve(t, "-replicas", "4", "-items", "60"), openBrowser(t)
	b.run(chromedp.EmulateViewport(860, 860), chromedp.Navigate(h.url))
	b.until("sales", cell("with", "sold")+` > 3`)
	var film []image.Image
	roll := func(until string, beats int) {
		t.Helper()
		for deadline := time.Now().Add(busyLimit); beats > 0; time.Sleep(pace) {
			var shot []byte
			b.run(chromedp.CaptureScreenshot(&shot))
			frame, err := png.Decode(bytes.NewReader(shot))
			if err != nil {
				t.Fatal(err)
			}
			film = append(film, frame)
			if js[bool](b, until) {
				beats--
			} else if time.Now().After(deadline) {
				t.Fatalf("never seen: %s", until)
			}
		}
	}
	roll("true", 4)
	b.run(chromedp.Click(`#replicas li:nth-child(1) .stall`))
	roll(logged("goes on with token"), 3)
	b.run(chromedp.Click(`#replicas li:nth-child(1) .go-on`))
	roll(cell("with", "refused")+" > 0", 5)
	b.run(chromedp.Click(`#guard`))
	roll(cell("without", "oversold")+" > 20", 3)
	if n := js[int](b, cell("with", "oversold")); n != 0 {
		t.Fatalf("oversold %d with the guard", n)
	}

	var whole []byte
	b.run(chromedp.FullScreenshot(&whole, 100)) // of 100, PNG
	still, moving := bytes.NewBuffer(whole), new(bytes.Buffer)
	if err := gif.EncodeAll(moving, animate(film)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, picture := range map[string]*bytes.Buffer{"inventory.png": still, "inventory.gif": moving} {
		t.Logf("%s: %d KiB", name, picture.Len()>>10)
		if picture.Len() > most {
			t.Errorf("%s has %d bytes, more than %d", name, picture.Len(), most)
		}
		if err := os.WriteFile(filepath.Join(pictures, name), picture.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h.interrupt()
}

// animate makes a film of which each frame has only the pixels that differ from the
// frame before.
func animate(film []image.Image) *gif.GIF {
	colours := palette(film)
	nearest := map[color.RGBA]uint8{}
	shown := image.NewPaletted(film[0].Bounds(), colours)
	moving := &gif.GIF{}
	for n, frame := range film {
		now := image.NewRGBA(frame.Bounds())
		draw.Draw(now, now.Bounds(), frame, frame.Bounds().Min, draw.Src)
		next := image.NewPaletted(now.Bounds(), colours) // index 0 is transparent
		changed := image.Rectangle{}
		for y := range now.Bounds().Dy() {
			for x := range now.Bounds().Dx() {
				c := now.RGBAAt(x, y)
				i, known := nearest[c]
				if !known {
					i = uint8(1 + colours[1:].Index(c))
					nearest[c] = i
				}
				if n > 0 && shown.ColorIndexAt(x, y) == i {
					continue
				}
				shown.SetColorIndex(x, y, i)
				next.SetColorIndex(x, y, i)
				changed = changed.Union(image.Rect(x, y, x+1, y+1))
			}
		}
		if changed.Empty() {
			changed = image.Rect(0, 0, 1, 1)
		}
		part, _ := next.SubImage(changed).(*image.Paletted) // it is one
		moving.Image = append(moving.Image, part)
		moving.Delay = append(moving.Delay, int(pace/(10*time.Millisecond)))
		moving.Disposal = append(moving.Disposal, gif.DisposalNone)
	}
	moving.Delay[len(film)-1] = 400 // 4 s to read the end
	return moving
}

// palette is the transparent colour and the 255 that fill most of the film.
func palette(film []image.Image) color.Palette {
	counts := map[color.RGBA]int{}
	for _, frame := range film {
		for y := range frame.Bounds().Dy() {
			for x := range frame.Bounds().Dx() {
				c, _ := color.RGBAModel.Convert(frame.At(x, y)).(color.RGBA) // it is one
				counts[c]++
			}
		}
	}
	byCount := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int { return cmp.Compare(counts[b], counts[a]) })
	p := color.Palette{color.RGBA{}}
	for _, c := range byCount[:min(255, len(byCount))] {
		p = append(p, c)
	}
	return p
}
