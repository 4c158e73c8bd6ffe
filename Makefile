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

# The page: its sources, the files made of them, and how it does in a browser.
# It needs Node and Chromium: web/README.md
test-web: build
	cd web && npm ci --no-audit --no-fund && npm run check && npm test && npm run build
	! git status --porcelain web/dist | grep . # else those files are not what the sources make: commit them
	rm -rf web/browser/out web/browser/shots
	cd web && PIPER="$(CURDIR)/piper" npm run browser
	go run ./web/conform web/browser/out/*.jsonl

bench-web: build
	cd web && npm ci --no-audit --no-fund && PIPER="$(CURDIR)/piper" npm run bench

# What agents suffer, and what must come of it: testdata/soak/README.md
STORE = sqlite
soak:
	go run ./testdata/soak -store $(STORE)

.PHONY: build test race release bench test-web bench-web soak
