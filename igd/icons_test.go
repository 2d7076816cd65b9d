package igd_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/portreeve/portreeve/igd"
)

// The committed pictures are those that the code below draws; run with -update to write them anew. They are served as what they
// are.
func TestIcons(t *testing.T) {
	handler := igd.Handler(t, newServer(t, offline{}, &line{}), lan())
	for _, size := range []int{32, 48, 120} {
		name := fmt.Sprintf("icon/%d.png", size)
		picture := encode(t, draw(size))
		if *update {
			if err := os.WriteFile(filepath.FromSlash(name), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		committed, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		// Compared by pixels: another version of Go may compress in another way.
		drawn, err := png.Decode(bytes.NewReader(committed))
		if err != nil {
			t.Fatal(err)
		}
		if !samePixels(drawn, draw(size)) {
			t.Errorf("%s is not what is drawn", name)
		}
		req := httptest.NewRequest(http.MethodGet, "/"+name, nil)
		req.RemoteAddr, req.Host = alice+":40000", "192.168.1.1:49000"
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/png" || !bytes.Equal(w.Body.Bytes(), committed) {
			t.Errorf("%s: status %d, type %q, %d bytes", name, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
	}
}

// draw draws the sign of the program: a town gate with an open door on a disc.
func draw(size int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	const samples = 4 // in each direction, so that edges are smooth
	for y := range size {
		for x := range size {
			var r, g, b, a int
			for i := range samples * samples {
				c := gate((float64(x)+(float64(i%samples)+0.5)/samples)/float64(size), (float64(y)+(float64(i/samples)+0.5)/samples)/float64(size))
				r, g, b, a = r+int(c.R)*int(c.A), g+int(c.G)*int(c.A), b+int(c.B)*int(c.A), a+int(c.A)
			}
			if a > 0 {
				img.SetNRGBA(x, y, color.NRGBA{uint8(r / a), uint8(g / a), uint8(b / a), uint8(a / (samples * samples))})
			}
		}
	}
	return img
}

// gate is the colour of a point of the square from 0 to 1.
func gate(x, y float64) color.NRGBA {
	disc, wall, light := color.NRGBA{0x1f, 0x4e, 0x79, 0xff}, color.NRGBA{0xf4, 0xf1, 0xe8, 0xff}, color.NRGBA{0xf2, 0xb1, 0x34, 0xff}
	square := func(x, y float64) float64 { return x*x + y*y }
	if square(x-0.5, y-0.5) > 0.25 {
		return color.NRGBA{}
	}
	door := 0.41 < x && x < 0.59 && 0.52 < y && y < 0.76 || square(x-0.5, y-0.52) < 0.09*0.09
	merlon := 0.26 < y && y <= 0.34 && (0.24 < x && x < 0.34 || 0.45 < x && x < 0.55 || 0.66 < x && x < 0.76)
	switch {
	case door:
		return light
	case merlon, 0.24 < x && x < 0.76 && 0.34 < y && y < 0.76:
		return wall
	default:
		return disc
	}
}

func encode(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func samePixels(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			if color.NRGBAModel.Convert(a.At(x, y)) != color.NRGBAModel.Convert(b.At(x, y)) {
				return false
			}
		}
	}
	return true
}
