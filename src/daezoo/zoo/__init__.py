"""Pretrained models: entries, where their weights come from, and the programs that make and check them."""
