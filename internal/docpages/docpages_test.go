package docpages

import (
	"fmt"
	"strings"
	"testing"
)

const page = `# A page
[one](other.md#x) and ` + "`[no](link)`" + ` and ![picture](a.png), [two][t].

## The same
## The same
[t]: https://example.com/

<!-- by hand: it takes a day -->
~~~console
$ sleep 86400
~~~

<!-- tested by TestX -->
~~~sh
a
b
~~~

- in a list

  ~~~console
  $ for i in 1 2; do
      echo $i; done | cat \
    -n
  1
  2
  $ next
  ~~~
~~~go
# no heading
~~~
`

func TestPages(t *testing.T) {
	p := Parse("a.md", strings.ReplaceAll(page, "~~~", "```"))
	if got := fmt.Sprint(p.Anchors); got != "[a-page the-same the-same-1]" {
		t.Errorf("anchors: %s", got)
	}
	if got := fmt.Sprint(p.Links); got != "[{2 other.md#x} {2 a.png} {6 https://example.com/}]" {
		t.Errorf("links: %s", got)
	}
	var got []string
	for _, b := range p.Blocks {
		for _, c := range b.Commands() {
			got = append(got, fmt.Sprintf("%q %d %q %q", b.By, c.Line, c.Text, c.Output))
		}
	}
	const want = `"by hand" 10 "sleep 86400" []
"TestX" 15 "a\nb" []
"" 22 "for i in 1 2; do\n    echo $i; done | cat \\\n  -n" ["1" "2"]
"" 27 "next" []`
	if strings.Join(got, "\n") != want {
		t.Errorf("blocks:\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if all := Parse("a.md", "<!-- commands tested by TestAll -->\ntext\n```sh\nx\n```\n"); all.Blocks[0].By != "TestAll" {
		t.Errorf("a page that is tested as a whole: %q", all.Blocks[0].By)
	}
}
