"""Which heads a probe of cognitive functions relies on (after Cognitive Mirrors, with added controls)."""
