"""How one block is made, and how many are made at once; the only home of Dask."""
