package httpmw_test

import (
	"os"
	"strings"
	"testing"
)

// TestProgramOfTheDocumentationCompiles holds that it is Example_program.
func TestProgramOfTheDocumentationCompiles(t *testing.T) {
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	_, example, _ := strings.Cut(read("program_test.go"), "\nimport (")
	example = strings.Replace(example, "// Example_program is the program of the package documentation.\nfunc Example_program()", "func main()", 1)
	var want strings.Builder
	for line := range strings.Lines("import (" + example) {
		want.WriteString("//")
		if line != "\n" {
			want.WriteString("\t")
		}
		want.WriteString(line)
	}
	if !strings.Contains(read("doc.go"), "//\tpackage main\n//\n"+want.String()+"//\n// To stop") {
		t.Errorf("the program in doc.go is not\n%s", want.String())
	}
}
