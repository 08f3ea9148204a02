DROP TABLE complaint_timeline;
DROP TABLE complaints;
DROP SEQUENCE complaint_reference;
