"""The flickermeter of IEC 61000-4-15."""
