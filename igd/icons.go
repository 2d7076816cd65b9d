package igd

import (
	"embed"
	"fmt"
)

// The pictures are drawn by the test of them, see TestIcons.
//
//go:embed icon
var iconFiles embed.FS

// iconSizes are the widths of the pictures, which are as high as wide. Windows shows those of 48 and 120 pixels
// (UDA 1.1, section 2.3, leaves the choice).
func iconSizes() []int { return []int{32, 48, 120} }

func iconPath(size int) string { return fmt.Sprintf("/icon/%d.png", size) }

const imagePNG = "image/png"

// icons returns the pictures by their paths.
func icons() map[string]document {
	byPath := map[string]document{}
	for _, size := range iconSizes() {
		path := iconPath(size)
		picture, err := iconFiles.ReadFile(path[1:])
		if err != nil {
			panic("igd: a picture is missing in the program: " + err.Error())
		}
		byPath[path] = document{kind: imagePNG, body: picture}
	}
	return byPath
}

func describeIcons() []iconXML {
	var list []iconXML
	for _, size := range iconSizes() {
		list = append(list, iconXML{Type: imagePNG, Width: size, Height: size, Depth: 32, URL: iconPath(size)})
	}
	return list
}
