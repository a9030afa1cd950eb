"""A simulation of many farmers at one lock: the lock is a model, the rules by which farmers act are the product's own."""
