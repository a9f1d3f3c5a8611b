lock: ## Lock the dependencies again, with hashes and without naming an index
