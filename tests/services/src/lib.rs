//! Starts the services.
