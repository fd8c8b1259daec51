-- The operational database of a small shop: what exists before wakestream comes along.
-- Run by its owner. `shop_capture` (change capture), `shop_ops` (the agent's actions) and `shop_messenger` (the program that
-- writes to customers) get the least they need.

create table category (
    id   bigint generated always as identity primary key,
    name text not null unique
);

create table product (
    id          bigint generated always as identity primary key,
    category_id bigint not null references category,
    name        text not null unique,
    price       numeric(8, 2) not null check (price > 0),
    rating      numeric(2, 1) not null,
    stock       integer not null check (stock >= 0)
);
create index on product (category_id);

create table customer (
    id    bigint generated always as identity primary key,
    name  text not null,
    email text not null
);

-- A product on a customer's list, and what the shop recommends instead while it cannot be had as it was listed.
create table wish (
    id             bigint generated always as identity primary key,
    customer_id    bigint not null references customer,
    product_id     bigint not null references product,
    price_then     numeric(8, 2) not null,    -- of the product when it was listed: what the customer counts on
    most           numeric(8, 2) not null,    -- what the customer would pay at most
    note           text,                      -- typed by the customer
    recommended_id bigint references product,
    unique (customer_id, product_id)
);
create index on wish (product_id);
create index on wish (recommended_id);

create table orders (
    id          bigint generated always as identity primary key,
    customer_id bigint not null references customer,
    placed_at   timestamptz not null default now()
);

create table order_line (
    order_id   bigint not null references orders on delete cascade,
    product_id bigint not null references product,
    quantity   integer not null check (quantity > 0),
    price      numeric(8, 2) not null,
    primary key (order_id, product_id)
);

create function remember_price() returns trigger language plpgsql as $$
begin
    select price into new.price_then from product where id = new.product_id;
    return new;
end $$;
create trigger remember_price before insert on wish for each row execute function remember_price();

-- Selling takes from the stock in the order's own transaction. There is no overselling: a check refuses it.
create function take_from_stock() returns trigger language plpgsql as $$
begin
    update product set stock = stock - new.quantity where id = new.product_id returning price into new.price;
    return new;
end $$;
create trigger take_from_stock before insert on order_line for each row execute function take_from_stock();

-- What sells out stops to be recommended, in the same transaction. Deferred: an order locks all its products before any
-- wish, as whoever records a recommendation locks the product first.
create function withdraw_sold_out() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if exists (select from product where id = new.id and stock = 0) then
        update wish set recommended_id = null where recommended_id = new.id;
    end if;
    return null;
end $$;
create constraint trigger withdraw_sold_out after update on product deferrable initially deferred
    for each row when (new.stock = 0 and old.stock > 0) execute function withdraw_sold_out();

-- Whether a product is in stock, and then it stays so until the asking transaction has ended: nobody can buy it meanwhile.
create function hold_in_stock(asked bigint) returns boolean
    language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform from product where id = asked and stock > 0 for share;
    return found;
end $$;
revoke execute on function hold_in_stock from public;

grant select on category, product, wish to shop_capture;
grant select (id, name) on customer to shop_capture;

-- The agent may write down what is recommended. That it is in stock at that moment, the function sees to.
grant select (id, recommended_id) on wish to shop_ops;
grant update (recommended_id) on wish to shop_ops;
grant execute on function hold_in_stock to shop_ops;

grant select (id, customer_id, product_id, recommended_id) on wish to shop_messenger;
grant select on customer to shop_messenger;
grant select (id, name, price) on product to shop_messenger;
grant execute on function hold_in_stock to shop_messenger;
