//! Pages of items that may be large.

use cqm_rpc::PageRequest;
use prost::Message;

/// What the items of one page may take together. Clients refuse messages over 4 MiB unless told otherwise.
const BUDGET: usize = 2 * 1024 * 1024;

/// Shortens the page to what fits the budget, one item at least; the rest comes with the next page.
pub(super) fn shorten<M: Message>(page: &mut PageRequest, items: &[M]) {
    let mut total = 0;
    let fits = items.iter().take_while(|item| {
        total += item.encoded_len();
        total <= BUDGET
    });
    page.size = page.size.min(fits.count().max(1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqm_rpc::Violations;

    fn page(sizes: &[usize]) -> (usize, bool) {
        let items: Vec<String> = sizes.iter().map(|size| "x".repeat(*size)).collect();
        let mut page = PageRequest::parse(3, "", &[], &mut Violations::default());
        shorten(&mut page, &items);
        let page = page.page(items, |_| vec![1]);
        (page.items.len(), !page.next_page_token.is_empty())
    }

    #[test]
    fn a_page_ends_before_it_outgrows_a_message() {
        assert_eq!(page(&[10, 10, 10]), (3, false));
        assert_eq!(page(&[10, 10, 10, 10]), (3, true));
        assert_eq!(page(&[BUDGET / 2, BUDGET / 2, BUDGET / 2]), (1, true));
        assert_eq!(page(&[BUDGET + 1, 1]), (1, true));
    }
}
