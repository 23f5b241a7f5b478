package main

import (
	"encoding/json"
	"os"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type expressions struct {
	InProgress string `json:"inProgress"`
	Failed     string `json:"failed"`
	Current    string `json:"current"`
}

// fluxJudge asks the expressions in Flux's order; the first that holds decides, and without any it is in progress.
func fluxJudge(path string) (judge, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var given expressions
	if err := json.Unmarshal(content, &given); err != nil {
		return nil, err
	}
	asked := []struct{ status, text string }{
		{"InProgress", given.InProgress}, {"Failed", given.Failed}, {"Current", given.Current},
	}
	return func(object *unstructured.Unstructured) (string, string, error) {
		for _, one := range asked {
			holds, err := evaluate(one.text, object.Object)
			if err != nil {
				return "", "", err
			}
			if holds {
				return one.status, one.text, nil
			}
		}
		return "InProgress", "", nil
	}, nil
}

func evaluate(expression string, object map[string]any) (bool, error) {
	var variables []cel.EnvOption
	for name := range object {
		variables = append(variables, cel.Variable(name, cel.DynType))
	}
	environment, err := cel.NewEnv(variables...)
	if err != nil {
		return false, err
	}
	parsed, issues := environment.Compile(expression)
	if issues.Err() != nil {
		return false, issues.Err()
	}
	program, err := environment.Program(parsed)
	if err != nil {
		return false, err
	}
	answer, _, err := program.Eval(object)
	if err != nil {
		return false, err
	}
	return answer.Value() == true, nil
}
