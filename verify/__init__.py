"""Asking the wire: what containers really reach, beside what the plan says."""
