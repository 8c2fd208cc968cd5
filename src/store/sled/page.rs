//! A page: many rows in one value of sled, in the order of their keys.
//!
//! sled costs by the key (10 to 17 µs of CPU each, whatever its size), so rows are packed.
//!
//! ```text
//! count 2 | start of each row 4 ... | row ...        a row: length of the key 2 | key | value
//! ```
//! Numbers are big-endian; starts count from the beginning of the page. A page is compressed before it is stored: its
//! rows have names, sources and whole keys in common.

/// How large the pages of a table are, in bytes before they are compressed. A row that is larger has a page of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill {
    /// They are filled to it.
    full: usize,
    /// They are not split up to it, so that one insertion does not split one.
    split_over: usize,
}

/// Rows that change together follow each other.
pub(super) const NEIGHBOURS: Fill = Fill { full: 16 << 10, split_over: 24 << 10 };
/// Rows that change together lie anywhere: each of them writes its page again.
pub(super) const STRANGERS: Fill = Fill { full: 2 << 10, split_over: 3 << 10 };

/// Bytes of a row in its page beside key and value.
const ROW: usize = 6;
/// Rows in a page at most.
const ROWS_MAX: usize = u16::MAX as usize;

/// A row, borrowed.
pub(super) type RowRef<'a> = (&'a [u8], &'a [u8]);

/// A page as it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Page<'a> {
    /// Reads the head; `None` when these bytes are no page.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let count = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
        (bytes.len() >= 2 + 4 * count).then_some(Self { bytes, count })
    }

    fn start(&self, index: usize) -> Option<usize> {
        if index == self.count {
            return Some(self.bytes.len());
        }
        let at = self.bytes.get(2 + 4 * index..)?.first_chunk()?;
        usize::try_from(u32::from_be_bytes(*at)).ok()
    }

    /// The row at a place; `None` at the end, or where the page is broken.
    pub(super) fn row(&self, index: usize) -> Option<RowRef<'a>> {
        if index >= self.count {
            return None;
        }
        let row = self.bytes.get(self.start(index)?..self.start(index + 1)?)?;
        let (len, row) = row.split_first_chunk::<2>()?;
        row.split_at_checked(usize::from(u16::from_be_bytes(*len)))
    }

    /// The place of the first row whose key is `key` or comes after it.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        self.lower_bound_within(0, self.count, key)
    }

    /// As [`Page::lower_bound`], where all rows before a place are known to come before it, and the row is likely to be near.
    pub(super) fn lower_bound_from(&self, place: usize, key: &[u8]) -> usize {
        let (mut low, mut step) = (place, 1);
        while self.row(low + step - 1).is_some_and(|(found, _)| found < key) {
            low += step;
            step *= 2;
        }
        self.lower_bound_within(low, self.count.min(low + step - 1), key)
    }

    fn lower_bound_within(&self, mut low: usize, mut high: usize, key: &[u8]) -> usize {
        while low < high {
            let middle = low + (high - low) / 2;
            match self.row(middle) {
                Some((found, _)) if found < key => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        low
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.row(self.lower_bound(key)).filter(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// The rows from a place on.
    pub(super) fn rows(self, from: usize) -> impl Iterator<Item = RowRef<'a>> {
        (from..self.count).map_while(move |index| self.row(index))
    }
}

/// Packs rows, which are in order, into as few pages as they need.
pub(super) fn pack<'a>(rows: &'a [RowRef<'a>], fill: Fill) -> impl Iterator<Item = &'a [RowRef<'a>]> {
    let weight = |(key, value): &RowRef<'_>| key.len() + value.len() + ROW;
    let is_one = rows.iter().map(weight).sum::<usize>() <= fill.split_over;
    let limit = if is_one { fill.split_over } else { fill.full };
    let mut left = rows;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fitting = left.iter().take(ROWS_MAX).take_while(|row| {
            size += weight(row);
            size <= limit
        });
        let (page, rest) = left.split_at(fitting.count().max(1).min(left.len()));
        left = rest;
        Some(page).filter(|page| !page.is_empty())
    })
}

/// The bytes of a page; at most [`ROWS_MAX`] rows, with keys of less than 64 KiB.
pub(super) fn encode(rows: &[RowRef<'_>]) -> Vec<u8> {
    let head = 2 + 4 * rows.len();
    let mut bytes = Vec::with_capacity(head + rows.iter().map(|(k, v)| k.len() + v.len() + 2).sum::<usize>());
    bytes.extend_from_slice(&u16::try_from(rows.len()).unwrap_or(u16::MAX).to_be_bytes());
    let mut start = head;
    for (key, value) in rows {
        bytes.extend_from_slice(&u32::try_from(start).unwrap_or(u32::MAX).to_be_bytes());
        start += 2 + key.len() + value.len();
    }
    for (key, value) in rows {
        bytes.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Vec<u8> {
        n.to_be_bytes().to_vec()
    }

    #[test]
    fn every_row_is_found_where_it_was_packed_and_no_other() {
        let keys: Vec<Vec<u8>> = (0..2_000).map(|n| key(2 * n)).collect();
        let value = [7_u8; 100];
        let rows: Vec<RowRef<'_>> =
            keys.iter().enumerate().map(|(n, key)| (key.as_slice(), &value[..n % 100])).collect();

        let pages: Vec<Vec<u8>> = pack(&rows, NEIGHBOURS).map(encode).collect();

        let found: Vec<RowRef<'_>> =
            pages.iter().flat_map(|bytes| Page::of(bytes).unwrap().rows(0)).collect();
        assert_eq!(found, rows);
        assert!(pages.iter().all(|page| page.len() <= NEIGHBOURS.full + 2), "none is over-full");
        let page = Page::of(&pages[0]).unwrap();
        assert_eq!((page.get(&key(2)), page.get(&key(3))), (Some(&value[..1]), None));
        assert_eq!((page.lower_bound(&key(3)), page.get(&key(9_999))), (2, None));
        for (n, place) in (0..2_000).flat_map(|n| [0, 1, n / 4, n / 2].map(|place| (n, place))) {
            let bound = page.lower_bound(&key(n));
            assert_eq!(page.lower_bound_from(bound.min(place as usize), &key(n)), bound, "{n} from {place}");
        }
    }

    #[test]
    fn a_large_row_has_a_page_of_its_own() {
        let large = vec![1; 3 * NEIGHBOURS.full];
        let rows: [RowRef<'_>; 3] = [(b"a", b"1"), (b"b", &large), (b"c", b"3")];

        let pages: Vec<usize> = pack(&rows, NEIGHBOURS).map(<[RowRef<'_>]>::len).collect();

        assert_eq!(pages, [1, 1, 1]);
    }

    #[test]
    fn bytes_that_are_no_page_are_noticed_or_read_as_less() {
        let bytes = encode(&[(b"a", b"1"), (b"b", b"2")]);
        for len in 0..bytes.len() {
            let cut = Page::of(&bytes[..len]).map_or(0, |page| page.rows(0).count());
            assert!(cut < 2 || bytes[..len].ends_with(b"b"), "{len}: {cut}");
        }
    }
}
