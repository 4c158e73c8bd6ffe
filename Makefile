# Thin: everything real is in PIPER.star or in the go command.

# Linked against the C library, every command would start half as slowly again.
build:
	CGO_ENABLED=0 go build -o piper ./cmd/piper

test:
	go test ./...

race:
	go test -race ./...

release:
	go run ./cmd/piper exec release

# What each figure is held against: testdata/bench/README.md
bench:
	go run ./testdata/bench

# What agents suffer, and what must come of it: testdata/soak/README.md
STORE = sqlite
soak:
	go run ./testdata/soak -store $(STORE)

.PHONY: build test race release bench soak
