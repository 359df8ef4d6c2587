"""The comparison: a spec, its plan, its runs, its report."""
