"""Which heads a probe of cognitive functions rests on (Cognitive Mirrors), with the hygiene it lacks."""
