"""Farms that are disturbed on purpose, and proved right afterwards by `checker`: used by scripts/nfs-scenario."""
