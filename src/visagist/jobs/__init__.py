"""What a production does: extract, train, swap, merge, preview, evaluate. The CLI and the studio call these."""
