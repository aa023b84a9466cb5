"""Building blocks shared by architectures. They are not architectures, so the registry ignores this package."""
