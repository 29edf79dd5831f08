"""Analyses of Measurements, Trends, findings, incidents and Histories, each in a thread with its feed."""
