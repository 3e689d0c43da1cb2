package llmsim

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
	"strconv"
)

// embed answers an embedding request: a vector for each text, after the time to
// the first token, since an embedding is a single forward pass.
func (c *call) embed() error {
	items, spelled, ok := countInputs(c.req.Input)
	if !ok || items > maxInputs {
		return c.fail(badRequest("input", "input must be a text, texts, tokens, or token arrays, 1 to "+strconv.Itoa(maxInputs)))
	}
	if f := c.req.EncodingFormat; f != "" && f != "float" && f != "base64" {
		return c.fail(badRequest("encoding_format", "encoding_format must be float or base64"))
	}
	c.prompt = c.promptTokens(spelled)
	fail, err := c.compute(0)
	if err != nil {
		return err
	}
	if fail != nil {
		return c.fail(fail)
	}
	vector := c.vector()
	b := append(c.buf.out[:0], `{"object":"list","data":[`...)
	for i := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInt(b, `{"object":"embedding","index":`, i)
		b = append(b, `,"embedding":`...)
		b = append(b, vector...)
		b = append(b, '}')
	}
	b = append(b, `],"model":`...)
	b = appendJSONString(b, c.req.Model)
	switch c.script.usage {
	case UsageNever:
	case UsageNull:
		b = append(b, `,"usage":null`...)
	default:
		b = appendInt(b, `,"usage":{"prompt_tokens":`, c.prompt)
		b = appendInt(b, `,"total_tokens":`, c.prompt)
		b = append(b, '}')
	}
	c.buf.out = append(b, '}')
	return c.body(http.StatusOK, c.buf.out)
}

// vector is the JSON text of an embedding in the form that the request asks for.
func (c *call) vector() []byte {
	dim := c.s.opts.EmbeddingDim
	if c.req.Dimensions != nil {
		dim = *c.req.Dimensions
	}
	switch {
	case c.req.EncodingFormat == "base64":
		raw := make([]byte, 0, 4*dim)
		for i := range dim {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(component(i, dim)))
		}
		return append(base64.StdEncoding.AppendEncode([]byte{'"'}, raw), '"')
	case dim == c.s.opts.EmbeddingDim:
		return c.s.vector
	}
	return appendVector(nil, dim)
}

// appendVector appends a vector as a JSON array.
func appendVector(b []byte, dim int) []byte {
	b = append(b, '[')
	for i := range dim {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(component(i, dim)), 'g', -1, 32)
	}
	return append(b, ']')
}

// component is the i-th of a unit vector that is the same for every text; its
// values have the spread, and so about the printed length, of real ones.
func component(i, dim int) float32 {
	// With a whole number of periods, the squares of the cosine add up to dim/2.
	angle := 2 * math.Pi * float64(i) / float64(dim)
	if dim < 3 {
		return float32(1 / math.Sqrt(float64(dim)))
	}
	return float32(math.Cos(angle) * math.Sqrt(2/float64(dim)))
}
