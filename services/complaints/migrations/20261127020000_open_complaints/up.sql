-- What is not closed, which is little beside what was ever registered: a list of it, in either order, reads nothing else.
CREATE INDEX complaints_open ON complaints (id) WHERE state <> 5;
CREATE INDEX complaints_open_by_category ON complaints (category, id) WHERE state <> 5;
CREATE INDEX complaints_open_by_category_severity ON complaints (category, severity_rank, id) WHERE state <> 5;
CREATE INDEX complaints_open_by_severity ON complaints (severity_rank, id) WHERE state <> 5;
