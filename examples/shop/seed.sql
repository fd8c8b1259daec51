-- The same shelf over and over: lamps, kettles and a chair, and what is on whose list.
truncate category, product, customer, wish, orders, order_line restart identity;

insert into category (name) values ('lamps'), ('kettles'), ('chairs');

insert into product (category_id, name, price, rating, stock) values
    (1, 'Alba', 49.00, 4.6, 3),      -- 1: will sell out first
    (1, 'Brio', 45.00, 4.1, 2),      -- 2: what is recommended then, and will sell out too
    (1, 'Cora', 59.00, 4.8, 8),      -- 3
    (1, 'Duna', 47.00, 4.9, 0),      -- 4: the nearest in price, but sold out from the beginning
    (1, 'Elio', 95.00, 4.7, 6),      -- 5: dearer than anybody here would pay
    (2, 'Fjord', 35.00, 4.2, 9),     -- 6: its price will rise
    (2, 'Gusto', 42.00, 4.4, 7),     -- 7
    (2, 'Hilo', 29.00, 3.9, 5),      -- 8
    (3, 'Ikat', 120.00, 4.5, 1);     -- 9: the only chair

insert into customer (name, email) values
    ('Nora Lind', 'nora@example.com'), ('Omar Haddad', 'omar@example.com'), ('Pia Rossi', 'pia@example.com'),
    ('Quentin Roy', 'quentin@example.com'), ('Rosa Marin', 'rosa@example.com');

insert into wish (customer_id, product_id, most, note) values
    (1, 1, 70, 'for the reading corner'),
    (2, 1, 48, null),                -- only Brio is cheap enough: with that gone, there is nothing left to recommend
    (3, 2, 80, 'warm light, please'),
    (4, 6, 50, null),
    (5, 9, 200, null),               -- no other chair
    (5, 7, 45, null);                -- nothing happens to it
