"""Helpers of the tests: servers, faulty stores, sample values. Imports the product, is never imported by it."""
