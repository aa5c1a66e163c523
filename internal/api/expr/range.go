package expr

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// rangeMost bounds the lists that lists.range makes. Its cost is one call, whatever it is asked for: a number of ten digits would
// take the memory of the machine before any budget is looked at.
const rangeMost = 1024

// boundedRanges puts the bound around each call.
func boundedRanges() cel.ProgramOption {
	return cel.CustomDecorator(func(i interpreter.Interpretable) (interpreter.Interpretable, error) {
		if call, ok := i.(interpreter.InterpretableCall); ok && call.Function() == "lists.range" && len(call.Args()) == 1 {
			return boundedRange{call}, nil
		}
		return i, nil
	})
}

type boundedRange struct{ interpreter.InterpretableCall }

// Eval implements interpreter.Interpretable. The argument is evaluated once.
func (b boundedRange) Eval(a interpreter.Activation) ref.Val {
	arg := b.Args()[0].Eval(a)
	n, ok := arg.(types.Int)
	switch {
	case types.IsUnknownOrError(arg):
		return arg
	case !ok:
		return types.MaybeNoSuchOverloadErr(arg)
	case n > rangeMost:
		return types.NewErr("lists.range: %d elements are more than %d", int64(n), rangeMost)
	}
	list := make([]ref.Val, max(0, n))
	for i := range list {
		list[i] = types.Int(i)
	}
	return types.DefaultTypeAdapter.NativeToValue(list)
}
