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

# What is done to the agents, and what must hold: testdata/soak/README.md
soak:
	go run ./testdata/soak

.PHONY: build test race release bench soak
