"""The one loop. It knows no idea: contracts carry everything."""
