"""Rewrites of a graph that keep what it computes; each is a function from graph to graph."""
