"""The ledger of paid calls: each answer is counted, capped and kept with its verdict."""
