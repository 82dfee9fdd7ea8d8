"""The network: it computes and nothing else; no loss, no files but its weights, no devices."""
