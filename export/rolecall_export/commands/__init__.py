"""The subcommands of rolecall-export, one module for each family of models."""
