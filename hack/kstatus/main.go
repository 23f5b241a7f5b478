// kstatus prints what kstatus, the library that Flux and kpt wait with, makes of objects.
//
// Standard input is a stream of objects as JSON. Each gets one line of JSON: kind, name, status and message.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type verdict struct {
	Kind    string        `json:"kind"`
	Name    string        `json:"name"`
	Status  status.Status `json:"status"`
	Message string        `json:"message"`
}

func main() {
	if err := judge(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func judge(in io.Reader, out io.Writer) error {
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
		result, err := status.Compute(object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		told := verdict{object.GetKind(), object.GetName(), result.Status, result.Message}
		if err := encoder.Encode(told); err != nil {
			return err
		}
	}
}
