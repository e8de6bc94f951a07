# `make` alone prints what there is.

# T is how long each fuzz target runs, or a soak; N how often tests are repeated.
T ?= 30s
N ?= 20

TOOL := go tool -modfile=tools.mod
PLATFORMS := linux/arm64 darwin/arm64 windows/amd64

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check
check: ## everything short of the tests: format, vet, lint, layering, tidy modules, cross-builds
	@files=$$($(TOOL) gofumpt -l $$(git ls-files -co --exclude-standard '*.go')); if [ -n "$$files" ]; then echo "gofumpt would change:"; echo "$$files"; exit 1; fi
	go vet ./...
	$(TOOL) staticcheck ./...
	go fix -diff ./...
	go mod tidy -diff
	go test .
	@if [ -d cmd/quorate ]; then \
		for p in $(PLATFORMS); do \
			echo "build $$p"; \
			CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null ./cmd/quorate || exit 1; \
		done; \
	fi

.PHONY: test
test: ## run the tests
	go test ./...

.PHONY: demo
demo: ## see the grid at work on real input
	go run ./cmd/quorate demo

.PHONY: race
race: ## run the tests with the race detector
	go test -race -timeout 30m ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for T (T=30s)
	@for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -rh --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6- | sort -u); do \
			echo "$$dir $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzzminimizetime 1s -fuzztime $(T) $$dir || exit 1; \
		done; \
	done

.PHONY: mutants
mutants: ## plant each bug of package mutants and see that its check notices it
	go run ./mutants/run

.PHONY: python
python: ## check the Python client: types, and tests against real members (needs Python 3.11)
	@./python/check

.PHONY: bench
bench: ## measure the grid against bare dragonboat, in the same run
	go build -buildvcs=true -o quorate ./cmd/quorate
	./quorate bench compare

.PHONY: bench-peers
bench-peers: ## measure the grid beside etcd, in the same run; a module of its own in bench/compare
	cd bench/compare && go vet . && go test . && go run . -measure load,watch,events,lock,handover,takeover

.PHONY: soak
soak: ## torture a grid of processes for T in each durability (T=1h)
	go build -buildvcs=auto -o quorate ./cmd/quorate
	./quorate verify --duration $(T)
	./quorate verify --duration $(T) --durability memory

.PHONY: repeat
repeat: ## repeat the tests of whole grids N times with the race detector (N=20)
	go test -race -count=$(N) -timeout 0 ./shardgroups/... ./grid/... ./client/... ./verify/...

.PHONY: soak-kills
soak-kills: ## kill N members of a grid in memory, each after it is full again, with every answer checked (N=100)
	go build -buildvcs=auto -o quorate ./cmd/quorate
	./quorate verify --durability memory --faults kill-leader,kill-follower --count $(N)

.PHONY: soak-disk
soak-disk: ## fill file systems of members for T in each part (T=2m); may need root
	QUORATE_SOAK_DISK=$(if $(filter file,$(origin T)),2m,$(T)) go test -timeout 0 -v -run TestFullDisk ./cmd/quorate

.PHONY: soak-lost
soak-lost: ## spoil the data of members N times in all ways (N=20)
	QUORATE_SOAK=$(N) go test -timeout 0 -v -run 'TestLostData|TestOlderCopy' ./grid/gridtest

.PHONY: cover
cover: ## write coverage to cover.out and print it by package
	go test -coverprofile=cover.out -coverpkg=./... ./...
	@go tool cover -func=cover.out | tail -1
