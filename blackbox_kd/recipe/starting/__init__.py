"""A recipe to begin with: of a job, from the columns of somebody's data."""
