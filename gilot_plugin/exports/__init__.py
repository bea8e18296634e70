"""Runs for other tools: tables for the hub and for spreadsheets, objects of inseq and captum."""
