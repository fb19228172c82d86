"""db.pull: a copy of production's shape and size, masked before it leaves."""
