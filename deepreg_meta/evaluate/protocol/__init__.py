"""Score displacement fields of any method: tables of pairs, and two protocols."""
