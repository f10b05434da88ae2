-- A small public library. Dates are texts, YYYY-MM-DD; returned is NULL while a book is out. Money is in euros.
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL, born INTEGER NOT NULL);
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author_id INTEGER NOT NULL REFERENCES author (id), genre TEXT NOT NULL, year INTEGER NOT NULL, pages INTEGER NOT NULL, copies INTEGER NOT NULL);
CREATE TABLE member (id INTEGER PRIMARY KEY, name TEXT NOT NULL, town TEXT NOT NULL, joined TEXT NOT NULL, student INTEGER NOT NULL);
CREATE TABLE loan (id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL REFERENCES book (id), member_id INTEGER NOT NULL REFERENCES member (id), taken TEXT NOT NULL, due TEXT NOT NULL, returned TEXT, fine REAL NOT NULL);

INSERT INTO author VALUES
  (1, 'Ada Lindholm', 'Sweden', 1951), (2, 'Bruno Castell', 'Spain', 1978), (3, 'Chiara Monti', 'Italy', 1966),
  (4, 'David Okoye', 'Nigeria', 1983), (5, 'Elin Berg', 'Norway', 1990), (6, 'Farid Haddad', 'Lebanon', 1959),
  (7, 'Grace Turner', 'Ireland', 1944), (8, 'Henrik Vos', 'Sweden', 1972), (9, 'Ivana Petrova', 'Bulgaria', 1988);

INSERT INTO book VALUES
  (1, 'Harbour Lights', 1, 'crime', 1989, 312, 3), (2, 'The Cold Ferry', 1, 'crime', 1996, 288, 2),
  (3, 'A House of Salt', 2, 'novel', 2011, 401, 4), (4, 'Olive Years', 2, 'novel', 2018, 256, 1),
  (5, 'Maps for Beginners', 3, 'travel', 2003, 190, 2), (6, 'Ten Walks in Liguria', 3, 'travel', 2009, 148, 2),
  (7, 'Red Earth', 4, 'novel', 2015, 367, 5), (8, 'The Radio Repairer', 4, 'novel', 2020, 295, 3),
  (9, 'Foxes at Night', 5, 'children', 2019, 48, 6), (10, 'The Snow Bus', 5, 'children', 2021, 36, 4),
  (11, 'Bread and Letters', 6, 'history', 1998, 520, 1), (12, 'The Cedar Road', 6, 'travel', 2005, 233, 2),
  (13, 'Peat', 7, 'poetry', 1979, 92, 1), (14, 'Late Collected Poems', 7, 'poetry', 2008, 340, 1),
  (15, 'Glass Evidence', 8, 'crime', 2007, 355, 3), (16, 'The Quiet Witness', 8, 'crime', 2014, 330, 4),
  (17, 'Roses of Kazanlak', 9, 'history', 2017, 275, 2), (18, 'Counting Sheep', 9, 'children', 2022, 40, 5),
  (19, 'Silent Archive', 1, 'history', 2001, 410, 1), (20, 'Lagos Timetable', 4, 'travel', 2022, 210, 2);

INSERT INTO member VALUES
  (1, 'Anna Weiss', 'Altdorf', '2018-03-14', 0), (2, 'Ben Hofer', 'Altdorf', '2020-09-01', 1),
  (3, 'Carla Dunn', 'Brunn', '2019-11-20', 0), (4, 'Deniz Aydin', 'Brunn', '2022-01-05', 1),
  (5, 'Eva Novotna', 'Kirchberg', '2017-06-30', 0), (6, 'Felix Marti', 'Kirchberg', '2023-02-11', 1),
  (7, 'Gita Rao', 'Altdorf', '2021-05-17', 0), (8, 'Hugo Lang', 'Seewen', '2016-10-08', 0),
  (9, 'Iris Keller', 'Seewen', '2023-08-23', 1), (10, 'Jonas Frei', 'Brunn', '2018-12-02', 0),
  (11, 'Kim Sato', 'Altdorf', '2024-01-15', 1), (12, 'Lea Brunner', 'Kirchberg', '2024-02-28', 0);

INSERT INTO loan VALUES
  (1, 1, 1, '2024-01-03', '2024-01-31', '2024-01-28', 0), (2, 7, 1, '2024-01-03', '2024-01-31', '2024-02-09', 1.8),
  (3, 9, 2, '2024-01-10', '2024-02-07', '2024-02-01', 0), (4, 15, 3, '2024-01-12', '2024-02-09', '2024-02-09', 0),
  (5, 3, 4, '2024-01-15', '2024-02-12', '2024-03-01', 3.6), (6, 16, 5, '2024-01-20', '2024-02-17', '2024-02-10', 0),
  (7, 2, 5, '2024-01-20', '2024-02-17', '2024-02-10', 0), (8, 18, 6, '2024-02-02', '2024-03-01', '2024-02-20', 0),
  (9, 11, 8, '2024-02-05', '2024-03-04', '2024-04-02', 5.8), (10, 8, 7, '2024-02-08', '2024-03-07', '2024-03-05', 0),
  (11, 16, 1, '2024-02-12', '2024-03-11', '2024-03-10', 0), (12, 10, 9, '2024-02-14', '2024-03-13', '2024-03-20', 1.4),
  (13, 5, 10, '2024-02-19', '2024-03-18', '2024-03-18', 0), (14, 17, 3, '2024-02-21', '2024-03-20', '2024-03-12', 0),
  (15, 7, 2, '2024-02-26', '2024-03-25', '2024-03-22', 0), (16, 9, 11, '2024-03-01', '2024-03-29', '2024-03-15', 0),
  (17, 14, 8, '2024-03-04', '2024-04-01', NULL, 0), (18, 3, 12, '2024-03-05', '2024-04-02', '2024-04-10', 1.6),
  (19, 15, 5, '2024-03-07', '2024-04-04', '2024-03-30', 0), (20, 1, 10, '2024-03-11', '2024-04-08', '2024-04-08', 0),
  (21, 20, 7, '2024-03-14', '2024-04-11', NULL, 0), (22, 18, 4, '2024-03-15', '2024-04-12', '2024-04-01', 0),
  (23, 19, 1, '2024-03-18', '2024-04-15', NULL, 0), (24, 8, 3, '2024-03-20', '2024-04-17', '2024-04-25', 1.6),
  (25, 12, 6, '2024-03-22', '2024-04-19', '2024-04-18', 0), (26, 7, 9, '2024-03-25', '2024-04-22', NULL, 0),
  (27, 16, 8, '2024-03-28', '2024-04-25', '2024-04-20', 0), (28, 6, 12, '2024-04-02', '2024-04-30', NULL, 0),
  (29, 2, 10, '2024-04-05', '2024-05-03', NULL, 0), (30, 9, 6, '2024-04-08', '2024-05-06', '2024-04-22', 0);
