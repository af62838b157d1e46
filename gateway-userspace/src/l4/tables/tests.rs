//! Groups, their numbers, and what follows for the slots.
