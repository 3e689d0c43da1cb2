// Package plot draws lines over a common time, as the SVG files of docs/.
package plot

import (
	"fmt"
	"strings"
)

// Plot is one picture of lines over a common time.
type Plot struct {
	Title string
	Top   float64 // the greatest value that fits
	Lines []Line
}

// Line is one course, or a constant of the picture.
type Line struct {
	Name, Color string
	Dashed      bool
	At, Values  []float64
}

// The sizes of a drawing, in pixels.
const (
	plotWidth, plotHeight = 640, 180
	marginLeft, marginTop = 46, 30
	marginRight           = 110
	plotGap               = 50
	valueTicks, timeTicks = 4, 5
	labelHeight           = 16
)

// Draw makes an SVG of plots, one below the other.
func Draw(duration float64, unit string, plots ...Plot) string {
	width, height := marginLeft+plotWidth+marginRight, len(plots)*(plotHeight+plotGap)+marginTop
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	for i, p := range plots {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", marginLeft, marginTop+i*(plotHeight+plotGap))
		p.frame(&b, duration, unit)
		for j, l := range p.Lines {
			l.draw(&b, duration, p.Top)
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", plotWidth+8, (j+1)*labelHeight, l.Color, l.Name)
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// frame draws the title, the values and the time.
func (p Plot) frame(b *strings.Builder, duration float64, unit string) {
	fmt.Fprintf(b, `<text x="0" y="-10" font-weight="bold">%s</text>`+"\n", p.Title)
	for i := range valueTicks + 1 {
		part := float64(i) / valueTicks
		y := plotHeight * (1 - part)
		fmt.Fprintf(b, `<path d="M0 %.1fH%d" stroke="#dddddd"/><text x="-6" y="%.1f" text-anchor="end">%.3g</text>`+"\n",
			y, plotWidth, y+4, p.Top*part)
	}
	for i := range timeTicks + 1 {
		part := float64(i) / timeTicks
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.3g</text>`+"\n", plotWidth*part, plotHeight+labelHeight, duration*part)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", plotWidth+labelHeight, plotHeight+labelHeight, unit)
}

func (l Line) draw(b *strings.Builder, duration, top float64) {
	points := make([]string, len(l.At))
	for i := range l.At {
		points[i] = fmt.Sprintf("%.1f,%.1f", l.At[i]/duration*plotWidth, plotHeight*(1-min(l.Values[i]/top, 1)))
	}
	dashes := ""
	if l.Dashed {
		dashes = ` stroke-dasharray="5 4"`
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.5"%s points="%s"/>`+"\n", l.Color, dashes, strings.Join(points, " "))
}
