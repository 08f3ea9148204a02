//! The contract's services about rewards and vouchers: one line for each RPC.

use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::reward_service_server::RewardService;
use cqm_proto::loyalty::v1::voucher_service_server::VoucherService;
use cqm_rpc::serve;
use tonic::{Request, Response, Status};

use super::{reward, voucher};
use crate::App;

#[tonic::async_trait]
impl RewardService for App {
    async fn create_reward(
        &self,
        request: Request<proto::CreateRewardRequest>,
    ) -> Result<Response<proto::Reward>, Status> {
        serve(request, async |call, message| reward::create_reward(self, &call, &message).await).await
    }

    async fn get_reward(
        &self,
        request: Request<proto::GetRewardRequest>,
    ) -> Result<Response<proto::Reward>, Status> {
        serve(request, async |call, message| reward::get_reward(self, &call, &message).await).await
    }

    async fn list_rewards(
        &self,
        request: Request<proto::ListRewardsRequest>,
    ) -> Result<Response<proto::ListRewardsResponse>, Status> {
        serve(request, async |call, message| reward::list_rewards(self, &call, &message).await).await
    }

    async fn update_reward(
        &self,
        request: Request<proto::UpdateRewardRequest>,
    ) -> Result<Response<proto::Reward>, Status> {
        serve(request, async |call, message| reward::update_reward(self, &call, &message).await).await
    }

    async fn activate_reward(
        &self,
        request: Request<proto::ActivateRewardRequest>,
    ) -> Result<Response<proto::Reward>, Status> {
        serve(request, async |call, message| reward::activate_reward(self, &call, &message).await).await
    }

    async fn archive_reward(
        &self,
        request: Request<proto::ArchiveRewardRequest>,
    ) -> Result<Response<proto::Reward>, Status> {
        serve(request, async |call, message| reward::archive_reward(self, &call, &message).await).await
    }

    async fn redeem_reward(
        &self,
        request: Request<proto::RedeemRewardRequest>,
    ) -> Result<Response<proto::RedeemRewardResponse>, Status> {
        serve(request, async |call, message| reward::redeem_reward(self, &call, &message).await).await
    }
}

#[tonic::async_trait]
impl VoucherService for App {
    async fn validate_voucher(
        &self,
        request: Request<proto::ValidateVoucherRequest>,
    ) -> Result<Response<proto::ValidateVoucherResponse>, Status> {
        serve(request, async |call, message| voucher::validate_voucher(self, &call, &message).await).await
    }

    async fn consume_voucher(
        &self,
        request: Request<proto::ConsumeVoucherRequest>,
    ) -> Result<Response<proto::Voucher>, Status> {
        serve(request, async |call, message| voucher::consume_voucher(self, &call, &message).await).await
    }

    async fn cancel_voucher(
        &self,
        request: Request<proto::CancelVoucherRequest>,
    ) -> Result<Response<proto::CancelVoucherResponse>, Status> {
        serve(request, async |call, message| voucher::cancel_voucher(self, &call, &message).await).await
    }

    async fn get_voucher(
        &self,
        request: Request<proto::GetVoucherRequest>,
    ) -> Result<Response<proto::Voucher>, Status> {
        serve(request, async |call, message| voucher::get_voucher(self, &call, &message).await).await
    }

    async fn list_vouchers(
        &self,
        request: Request<proto::ListVouchersRequest>,
    ) -> Result<Response<proto::ListVouchersResponse>, Status> {
        serve(request, async |call, message| voucher::list_vouchers(self, &call, &message).await).await
    }
}
