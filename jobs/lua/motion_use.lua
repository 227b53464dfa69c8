-- after: _common _media _motions
-- ARGV: owner, one of whose motions is used.
renew_motions(ARGV[1])
