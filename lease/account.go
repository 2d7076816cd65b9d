package lease

import "context"

// maxAccount bounds the name of an account in the history.
const maxAccount = 100

type accountKey struct{}

// WithAccount returns a context for what somebody does who has an account. The methods of [Manager] that change something for
// the owner note the name in the history; nobody gets rights by it.
func WithAccount(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, accountKey{}, CleanText(name, maxAccount))
}

// accountOf returns that name, empty if there is none.
func accountOf(ctx context.Context) string {
	name, _ := ctx.Value(accountKey{}).(string)
	return name
}

// signed has the events of an operation tell in whose name it was done, as far as they are the owner's own doing.
func (o *operation) signed(events []Event) {
	for i := range events {
		if e := &events[i]; e.By == OriginWeb || e.By == OriginCLI {
			e.Who = o.account
		}
	}
}
