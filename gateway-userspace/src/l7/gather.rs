//! Small writes of several pieces as one: `send` costs the kernel less than `writev`, by more than copying a few
//! hundred bytes costs us.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, ReadBuf};

/// Pieces of so many bytes in all are copied together: a head and a small body.
const GATHERED_BYTES_MAX: usize = 2 * 1024;

/// Writes as `poll_write_vectored` does.
pub(super) fn poll_write<S: AsyncWrite + ?Sized>(
    stream: Pin<&mut S>,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [one] = slices {
        return stream.poll_write(context, one);
    }
    let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    if bytes > GATHERED_BYTES_MAX {
        return stream.poll_write_vectored(context, slices);
    }
    let mut space = [const { MaybeUninit::uninit() }; GATHERED_BYTES_MAX];
    let mut gathered = ReadBuf::uninit(&mut space);
    for slice in slices {
        gathered.put_slice(slice);
    }
    stream.poll_write(context, gathered.filled())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn pieces_arrive_in_order_whatever_their_sizes() {
        for sizes in [
            vec![],
            vec![5],
            vec![3, 4],
            vec![0, 2000, 48],
            vec![2000, 49],
            vec![1, 9000],
        ] {
            let pieces: Vec<Vec<u8>> = sizes
                .iter()
                .zip(1..)
                .map(|(&size, byte)| vec![byte; size])
                .collect();
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let (mut writer, mut reader) = duplex(16_384);
            let written = poll_fn(|context| poll_write(Pin::new(&mut writer), context, &slices)).await;
            let written = written.unwrap();
            drop(writer);
            let mut got = Vec::new();
            reader.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, pieces.concat()[..written], "{sizes:?}");
        }
    }
}
