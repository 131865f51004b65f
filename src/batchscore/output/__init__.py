"""What is kept, and what does the output hold already? The ledger: journal, parts, manifest."""
