package main

import (
	"errors"
	"os"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// argoJudge runs a health check's script with the global obj; what it returns is a table with status and message.
func argoJudge(path string) (judge, error) {
	script, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return func(object *unstructured.Unstructured) (string, string, error) {
		state := lua.NewState()
		defer state.Close()
		state.SetGlobal("obj", toLua(state, object.Object))
		if err := state.DoString(string(script)); err != nil {
			return "", "", err
		}
		health, ok := state.Get(-1).(*lua.LTable)
		if !ok {
			return "", "", errors.New("the script returns no table")
		}
		return health.RawGetString("status").String(), health.RawGetString("message").String(), nil
	}, nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for name, part := range value {
			table.RawSetString(name, toLua(state, part))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, part := range value {
			table.Append(toLua(state, part))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}
