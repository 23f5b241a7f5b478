// kstatus prints what GitOps tools make of objects, each by the library that it uses itself.
//
// Usage: kstatus [-argo FILE | -flux FILE]
//
// Standard input is a stream of objects as JSON. Each gets one line of JSON: kind, name, status and message. Without a
// flag they are judged by kstatus; with one by the file's Lua script, as Argo CD runs it, or by its expressions in CEL
// (a JSON object with inProgress, failed and current), as Flux does.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type verdict struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// judge says status and message of one object.
type judge func(*unstructured.Unstructured) (string, string, error)

func main() {
	argo := flag.String("argo", "", "Lua script of a health check of Argo CD")
	flux := flag.String("flux", "", "JSON of an entry of healthCheckExprs of Flux")
	flag.Parse()
	one, err := chosen(*argo, *flux)
	if err == nil {
		err = tell(one, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func chosen(argo, flux string) (judge, error) {
	switch {
	case argo != "":
		return argoJudge(argo)
	case flux != "":
		return fluxJudge(flux)
	default:
		return kstatusJudge, nil
	}
}

func kstatusJudge(object *unstructured.Unstructured) (string, string, error) {
	result, err := status.Compute(object)
	if err != nil {
		return "", "", err
	}
	return result.Status.String(), result.Message, nil
}

func tell(one judge, in io.Reader, out io.Writer) error {
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var content json.RawMessage
		if err := decoder.Decode(&content); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// Numbers as Kubernetes reads them: kstatus finds no observedGeneration that is a float.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			return err
		}
		status, message, err := one(object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if err := encoder.Encode(verdict{object.GetKind(), object.GetName(), status, message}); err != nil {
			return err
		}
	}
}
